//! Push rules are compared with every event, and what notifies is written with it and counted.

mod counts;
mod house;
mod members;
mod plans;
mod summary;
