"""Support for the end-to-end tests and the demo: the emulator, the deployed stack, and the function as a process."""
