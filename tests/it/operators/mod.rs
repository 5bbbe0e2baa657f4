//! What people are told: members by mail, administrators by states and exit statuses.

mod failures;
mod find;
mod notices;
