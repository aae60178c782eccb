"""Do groups pay? Paired trials of the readout over groups and of the exchange. See PROTOCOL.md."""
