"""`python -m multimodal_cam`: the command line."""

from multimodal_cam.cli.app import main

if __name__ == "__main__":
    main()
