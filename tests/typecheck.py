"""The runtime type checker of the tests: beartype, with the rule that an int is a float where one is asked for."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
