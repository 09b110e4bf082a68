//! tcpwhy: why did this TCP connection stall or die?
