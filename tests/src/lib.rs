//! The lab: network namespaces of a test's own, and every event caused for real in them.
