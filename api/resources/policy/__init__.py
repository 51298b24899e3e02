"""Constitution in force, dry run, explanation, backtest, check, proof and comparison."""
