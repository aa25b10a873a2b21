"""What operators get to see (the console, the access log), and this machine's clock and draws."""
