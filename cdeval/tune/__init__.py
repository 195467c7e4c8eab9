"""Which settings of each arm are the best of equally many, by the texts of the tuning split."""
