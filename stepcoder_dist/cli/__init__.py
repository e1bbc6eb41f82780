"""The command line: it parses arguments, then imports what the command needs."""
