//! stub by lead until admin lands
use crate::{config::Config, metrics::Registry, net::*, server::status::Status, tree::Db};
use std::sync::Arc;
pub fn four_letter_words(i: crate::server::Insight) -> Box<dyn FourLetter> {
    Box::new(FourLetterWords::new(i.config, i.db, i.metrics, i.status))
}
pub struct FourLetterWords {
    status: Arc<Status>,
    db: Arc<Db>,
}
impl FourLetterWords {
    pub fn new(_: Arc<Config>, db: Arc<Db>, _: Arc<Registry>, status: Arc<Status>) -> Self {
        Self { status, db }
    }
}
impl FourLetter for FourLetterWords {
    fn answer(&mut self, asked: &Word, _: &Clients) -> Vec<u8> {
        let r = self.status.role();
        match &asked.word { b"ruok" => b"imok".to_vec(), b"srvr" => format!("Zookeeper version: 3.9.5-stub, built on 2026-01-01 00:00 UTC\nZxid: {:#x}\nMode: {}\nNode count: {}\n", self.db.read().tree.last_zxid(), r.mode, self.db.read().tree.node_count()).into_bytes(), _ => Vec::new() }
    }
}
