"""What the end-to-end tests and the tools are made of: the lab, what runs in it, and the calls. ../README.md lists the modules."""
