//! What a replica makes of a router's request, and what it answers.

use bytes::Bytes;
use shoal_consensus::client::Round;
use shoal_consensus::{Answer, Input, Refusal, Seq};

use super::{Attempt, Call, Refused, Reply, RouterEvent, Want, What};
use crate::check::Broken;
use crate::whole::encoded;
use crate::world::World;

/// How long a replica waits to show what a read must see, and how often it looks, in ms.
const BEHIND: u64 = 300;
const LOOKS: u64 = 20;

impl World {
    /// A request is at a replica.
    pub(super) fn arrives(&mut self, attempt: u64) -> Result<(), Broken> {
        let Some((Attempt { node, what, .. }, &Call { want, router, .. })) =
            self.routers.call_of(attempt)
        else {
            return Ok(());
        };
        let own = &self.nodes[node];
        if own.replica.is_none() {
            self.reply(attempt, Reply::Failed(Refused::Away));
            return Ok(());
        }
        if own.paused > self.now {
            let ms = own.paused - self.now;
            self.router_after(ms, RouterEvent::Arrive { attempt });
            return Ok(());
        }
        let run = own.run;
        match want {
            Want::Write { op } => {
                let id = self.clients.proposes(op);
                self.routers.proposals.insert(id, attempt);
                let body = match self.plan.whole {
                    false => Bytes::copy_from_slice(&op.to_le_bytes()),
                    true => Bytes::from(encoded(op)),
                };
                let client_id = 1 + router as u64;
                self.step(node, run, Input::Propose { id, client_id, op_id: op, body })
            }
            Want::Strong => {
                self.reads += 1;
                self.history.read_begins(self.reads);
                self.routers.reads.insert(self.reads, attempt);
                self.step(node, run, Input::Read(self.reads))
            }
            Want::Any { .. } => {
                if self.plan.whole {
                    self.read_some(node)?;
                }
                let until = match what {
                    What::Read(Round::Newer) => self.now + BEHIND,
                    _ => self.now,
                };
                self.shows(attempt, until)
            }
        }
    }

    /// A read is answered once the replica shows what it must see, or not at all.
    pub(super) fn shows(&mut self, attempt: u64, until: u64) -> Result<(), Broken> {
        let Some((Attempt { node, what, .. }, &Call { want: Want::Any { acked, .. }, .. })) =
            self.routers.call_of(attempt)
        else {
            return Ok(());
        };
        // It was told so when it ended.
        if self.nodes[node].replica.is_none() {
            return Ok(());
        }
        let seq = self.nodes[node].applied;
        let all = matches!(what, What::Read(Round::Any));
        match (all || seq >= acked, self.now < until) {
            (true, _) => self.reply(attempt, Reply::At { seq, visible: true }),
            (false, true) => self.router_after(LOOKS, RouterEvent::Show { attempt, until }),
            (false, false) => self.reply(attempt, Reply::Failed(Refused::Behind)),
        }
        Ok(())
    }

    /// A proposal has its answer; `visible` where it is shown already.
    pub(crate) fn routed_answer(&mut self, proposal: u64, answer: Answer, visible: bool) {
        let Some(attempt) = self.routers.proposals.remove(&proposal) else { return };
        let reply = match answer {
            Answer::Committed(seq) => Reply::At { seq, visible },
            Answer::Durable(seq) => Reply::At { seq, visible: false },
            Answer::Refused(refusal) => Reply::Failed(Refused::Said(refusal)),
            Answer::Unknown => Reply::Failed(Refused::Away),
        };
        self.reply(attempt, reply);
    }

    /// A strong read has its answer.
    pub(crate) fn routed_read(&mut self, read: u64, answer: Result<Seq, Refusal>) {
        let Some(attempt) = self.routers.reads.remove(&read) else { return };
        let reply = match answer {
            Ok(seq) => Reply::At { seq, visible: true },
            Err(refusal) => Reply::Failed(Refused::Said(refusal)),
        };
        self.reply(attempt, reply);
    }

    /// An answer leaves for the router.
    pub(super) fn reply(&mut self, attempt: u64, reply: Reply) {
        let Some((Attempt { node, .. }, &Call { router, .. })) = self.routers.call_of(attempt)
        else {
            return;
        };
        if let Some(ms) = self.travels(router, node) {
            self.router_after(ms, RouterEvent::Reply { attempt, reply });
        }
    }
}
