"""The `d4rt` command. A sub-command is a module with add_arguments(parser) and run(args) -> exit status."""
