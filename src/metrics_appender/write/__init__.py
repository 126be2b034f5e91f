"""How lines get into a log: durably, in order, many at the price of one."""
