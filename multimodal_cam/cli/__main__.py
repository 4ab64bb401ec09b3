"""`python -m multimodal_cam.cli`."""

from multimodal_cam.cli.app import main

if __name__ == "__main__":  # worker processes import this module
    main()
