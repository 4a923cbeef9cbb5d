//! The table `ledger`, from the books of all agents.

use std::sync::Arc;

use async_trait::async_trait;
use lapwing_delivery::accounts::{Account, Accounts};
use lapwing_store::ledger::{Ledger, LedgerEntry, LedgerSource, Told};

use crate::agents::Agents;

/// Reads the books of all agents.
#[derive(Debug)]
pub struct Books(pub Arc<Agents>);

#[async_trait]
impl LedgerSource for Books {
    async fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::default();
        for entry in self.0.all() {
            add(&mut ledger, entry.state.lock().await.accounts());
        }
        ledger
    }
}

fn add(ledger: &mut Ledger, accounts: &Accounts) {
    let (sources, gaps) = accounts.iter();
    ledger.sources.extend(sources.map(entry));
    ledger.gaps.extend(gaps.map(|gap| LedgerEntry { told: None, ..entry(gap) }));
}

fn entry(account: &Account) -> LedgerEntry {
    let told = Told {
        read: account.read,
        truncated: account.truncated,
        spooled: account.spooled,
        acknowledged: account.acknowledged,
        dropped: account.dropped.clone(),
    };
    LedgerEntry {
        agent: account.agent.clone(),
        source: account.source.clone(),
        told: account.told.then_some(told),
        journaled: account.journaled,
        missing: account.missing,
        number: (account.epoch, account.sequence),
        time_unix_nano: account.received_unix_nano,
    }
}
