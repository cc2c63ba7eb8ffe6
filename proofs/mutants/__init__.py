"""Are the tests any good? Small faults are put into the code one at a time, and some test must fail on each."""
