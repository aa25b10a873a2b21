"""Who listens to notices: the console and the access log, and how their lines reach a file."""
