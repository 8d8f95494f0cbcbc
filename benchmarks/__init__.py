"""Speed, printed as ratios against a reference run beside it in the same process or minute."""
