"""A run that is stopped anywhere and continues from a checkpoint ends with the very bits of the uninterrupted one."""
