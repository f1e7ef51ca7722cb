"""Results of a study: records of its runs, tables, comparisons and what they say in words."""
