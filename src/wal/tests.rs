//! Tests of the log on the simulated disk.

mod bytes_tests;
mod corruption_tests;
mod crash_tests;
mod exact_tests;
mod failure_tests;
mod forgery_tests;
mod guarantee_tests;
mod listing_tests;
mod lost_header_tests;
mod made;
mod made_tests;
mod oracle;
mod repair_tests;
mod reuse_cut_tests;
mod reuse_tests;
mod tail_made_tests;
mod tail_tests;
mod way_tests;
