"""The Lambda service: functions and the versions that run."""
