//! Says why: pure functions over what correlation kept of a connection.

pub mod deadline;
