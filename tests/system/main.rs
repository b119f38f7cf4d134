//! System tests: Everline as a program, between real clients and a real PostgreSQL cluster.
//!
//! One file per promise. Each test has a cluster, ports and directories of its own and a bound on
//! its time; all that it starts ends with it. What a machine cannot provide is reported as skipped,
//! also to the file that `EVERLINE_SKIPPED_FILE` names.

#[cfg(test)]
mod adaptive;
#[cfg(test)]
mod attack;
#[cfg(test)]
mod auth;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod change;
#[cfg(test)]
mod console;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod contract_flight;
#[cfg(test)]
mod contract_hold;
#[cfg(test)]
mod contract_hostile;
#[cfg(test)]
mod contract_state;
#[cfg(test)]
mod crowd;
#[cfg(test)]
mod demoted;
#[cfg(test)]
mod doors;
#[cfg(test)]
mod driver;
#[cfg(test)]
mod gel;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod import;
#[cfg(test)]
mod leaks;
#[cfg(test)]
mod leases;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod load;
#[cfg(test)]
mod login;
#[cfg(test)]
mod manual;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod origins;
#[cfg(test)]
mod page;
#[cfg(test)]
mod planned;
#[cfg(test)]
mod same;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod seat;
#[cfg(test)]
mod service;
#[cfg(test)]
mod stolon;
#[cfg(test)]
mod tools;
#[cfg(test)]
mod watch;
