"""What runs inside an execution environment, where this package is called `awslambdaric`."""
