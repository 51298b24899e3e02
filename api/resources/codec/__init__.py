"""Remote codec endpoint of Temporal."""
