//! The table `ledger`, from the books of all agents.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use lapwing_delivery::accounts::Account;
use lapwing_store::ledger::{Ledger, LedgerEntry, LedgerSource, Told};

use crate::agents::Agents;

/// Reads the books of all agents.
#[derive(Debug)]
pub struct Books(pub Arc<Agents>);

#[async_trait]
impl LedgerSource for Books {
    async fn ledger(&self) -> Ledger {
        let (mut sources, mut gaps) = (BTreeMap::new(), Vec::new());
        for entry in self.0.all() {
            let state = entry.state.lock().await;
            let (accounts, own_gaps) = state.accounts().iter();
            accounts.for_each(|account| add(&mut sources, entry_of(&account)));
            gaps.extend(own_gaps.map(|gap| LedgerEntry { told: None, ..entry_of(gap) }));
        }
        Ledger { sources: sources.into_values().collect(), gaps }
    }
}

/// Books an agent's source together with what came of it without numbers.
fn add(sources: &mut BTreeMap<(String, String), LedgerEntry>, entry: LedgerEntry) {
    let key = (entry.agent.clone(), entry.source.clone());
    let Some(known) = sources.remove(&key) else {
        sources.insert(key, entry);
        return;
    };
    let (numbered, other) = if known.told.is_some() { (known, entry) } else { (entry, known) };
    let mut dropped = numbered.dropped;
    for (cause, events) in other.dropped {
        let sum = dropped.entry(cause).or_insert(0);
        *sum = sum.saturating_add(events);
    }
    let joined = LedgerEntry {
        dropped,
        journaled: numbered.journaled.saturating_add(other.journaled),
        unnumbered: numbered.unnumbered.saturating_add(other.unnumbered),
        missing: numbered.missing.saturating_add(other.missing),
        time_unix_nano: numbered.time_unix_nano.max(other.time_unix_nano),
        ..numbered
    };
    sources.insert(key, joined);
}

fn entry_of(account: &Account) -> LedgerEntry {
    let told = Told {
        read: account.read,
        truncated: account.truncated,
        spooled: account.spooled,
        acknowledged: account.acknowledged,
    };
    LedgerEntry {
        agent: account.agent.clone(),
        source: account.source.clone(),
        told: account.told.then_some(told),
        dropped: account.dropped.clone(),
        journaled: account.journaled,
        unnumbered: if account.told { 0 } else { account.journaled },
        missing: account.missing,
        number: (account.epoch, account.sequence),
        time_unix_nano: account.received_unix_nano,
    }
}
