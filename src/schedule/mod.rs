//! When things are due. The [`Timetable`] is data that can be listed; a [`Tick`] only wakes whoever looks at
//! it. It refuses to run anything itself, and to hold one timer for each account.

mod tick;
mod timetable;

pub use tick::Tick;
pub use timetable::Timetable;
