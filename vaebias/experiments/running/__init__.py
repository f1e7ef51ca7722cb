"""Running a study: training and measuring its runs, on this machine or on a cluster."""
