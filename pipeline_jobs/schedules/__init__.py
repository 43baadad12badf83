"Jobs that are created at regular times."
