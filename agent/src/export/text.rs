//! Lines for people.
