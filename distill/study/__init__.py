"""Many trainings: a matrix of teachers and students, unattended."""
