"""Storage systems behind one interface: the contract, its values and errors, and one package or module per driver."""
