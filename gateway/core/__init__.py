"""What the gateway decides: values in, values out; nothing here can wait, read a clock or open a
socket."""
