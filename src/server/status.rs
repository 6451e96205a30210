//! What the commit thread lets others know.
use crate::pipeline::node::{Event, RoleReport};
use crossbeam_channel::Sender;
use std::sync::Mutex;
#[derive(Debug)]
pub struct Status {
    role: Mutex<RoleReport>,
    #[allow(dead_code)]
    events: Sender<Event>,
}
impl Status {
    pub fn new(events: Sender<Event>) -> Self {
        Self { role: Mutex::default(), events }
    }
    pub fn set_role(&self, r: RoleReport) {
        *self.role.lock().unwrap() = r;
    }
    pub fn role(&self) -> RoleReport {
        self.role.lock().unwrap().clone()
    }
}
