//! Mail in files: uploads, archives, backups.

mod backup_names;
mod broken_uploads;
mod file_archives;
mod file_forms;
mod round_trip;
