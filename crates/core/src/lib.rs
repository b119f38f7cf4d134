//! Everline.
