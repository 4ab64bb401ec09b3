"""`python -m multimodal_cam.cli`."""

from multimodal_cam.cli.app import main

main()
