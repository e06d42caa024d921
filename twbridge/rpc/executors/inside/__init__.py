"""A child: the process in which tasks run. It imports no reactor but for coroutines."""
