//! A router and its calls: what clients ask of it, and what it makes of the answers.

use rand::Rng;
use shoal_consensus::Phase;
use shoal_consensus::client::{Failure, Leading, Next, Reading, Round, Then};

use super::{Attempt, Call, How, ROUTERS, Refused, Reply, RouterEvent, RouterMistake, Want, What};
use crate::check::{Broken, Check};
use crate::world::{Event, World};

/// Least and most ms that a call may take.
const DEADLINES: (u64, u64) = (4_000, 12_000);

impl World {
    pub(super) fn router_after(&mut self, ms: u64, event: RouterEvent) {
        self.after(ms, Event::Router(event));
    }

    pub(crate) fn router(&mut self, event: RouterEvent) -> Result<(), Broken> {
        match event {
            RouterEvent::Ask { call } => self.ask_primary(call),
            RouterEvent::Arrive { attempt } => return self.arrives(attempt),
            RouterEvent::Show { attempt, until } => return self.shows(attempt, until),
            RouterEvent::Reply { attempt, reply } => return self.replied(attempt, reply),
            RouterEvent::Silent { attempt } => return self.failed(attempt, Failure::Silent),
            RouterEvent::Slow { call } => self.is_slow(call),
            RouterEvent::Deadline { call } => return self.fails(call),
            RouterEvent::Watch { router } => self.router_watches(router),
            RouterEvent::Fault => return self.router_fault(),
        }
        Ok(())
    }

    /// A client asks a router for something.
    pub(crate) fn call(&mut self) {
        let router = self.random.random_range(0..ROUTERS);
        let deadline = self.now + self.between(DEADLINES.0, DEADLINES.1);
        let least = self.history.last_acked();
        let kind = self.random.random_range(0..10);
        let (call, now) = (self.routers.number(), self.now);
        let known = &mut self.routers.known[router];
        let (want, how) = match kind {
            0..5 => {
                (Want::Write { op: self.history.propose() }, How::Leading(Leading::new(deadline)))
            }
            5..7 => (Want::Strong, How::Leading(Leading::new(deadline))),
            _ => {
                let (acked, told) = (known.acked(), self.routers.told[router]);
                (Want::Any { acked, told }, How::Reading(Reading::new(known, now, deadline)))
            }
        };
        self.routers.calls.insert(call, Call { router, want, how, began: now, least });
        self.router_after(deadline - now, RouterEvent::Deadline { call });
        match want {
            Want::Write { .. } | Want::Strong => self.ask_primary(call),
            Want::Any { .. } => {
                let next = self.reading(call, |read, known, now| read.begin(known, now));
                self.go_on(call, next);
            }
        }
    }

    /// Tells a read something; nothing if it ended.
    fn reading(
        &mut self,
        call: u64,
        tell: impl FnOnce(&mut Reading, &mut shoal_consensus::client::Known, u64) -> Next,
    ) -> Option<Next> {
        let Call { router, how: How::Reading(read), .. } = self.routers.calls.get_mut(&call)?
        else {
            return None;
        };
        Some(tell(read, &mut self.routers.known[*router], self.now))
    }

    fn ask_primary(&mut self, call: u64) {
        let Some(Call { router, how: How::Leading(lead), .. }) = self.routers.calls.get(&call)
        else {
            return;
        };
        let Some(ask) = lead.ask(&self.routers.known[*router], self.now) else { return };
        let attempt = self.send(call, ask.replica, What::Lead(ask));
        self.router_after(ask.within, RouterEvent::Silent { attempt });
    }

    fn send(&mut self, call: u64, node: usize, what: What) -> u64 {
        let attempt = self.routers.number();
        self.routers.attempts.insert(attempt, Attempt { call, node, what });
        let router = self.routers.calls.get(&call).map_or(0, |call| call.router);
        if let Some(ms) = self.travels(router, node) {
            self.router_after(ms, RouterEvent::Arrive { attempt });
        }
        attempt
    }

    /// A read asks another replica, or waits.
    fn go_on(&mut self, call: u64, next: Option<Next>) {
        let Some(Call { how: How::Reading(read), .. }) = self.routers.calls.get(&call) else {
            return;
        };
        let (round, slow_at) = (read.round(), read.slow_at());
        let gives_up = self.plan.router_mistake == Some(RouterMistake::GivesUpBehind);
        let waits = self.plan.router_mistake == Some(RouterMistake::WaitsForOne);
        if let Some(Next::Ask(node)) = next
            && !(gives_up && round == Round::Any)
        {
            self.send(call, node, What::Read(round));
        }
        if let Some(at) = slow_at.filter(|_| !waits) {
            self.router_after(at.saturating_sub(self.now), RouterEvent::Slow { call });
        }
    }

    fn is_slow(&mut self, call: u64) {
        let due = match self.routers.calls.get(&call) {
            Some(Call { how: How::Reading(read), .. }) => read.slow_at(),
            _ => None,
        };
        // Another was asked meanwhile, and it has its time.
        if due.is_some_and(|due| due <= self.now) {
            let next = self.reading(call, |read, known, now| read.slow(known, now));
            self.go_on(call, next);
        }
    }

    fn replied(&mut self, attempt: u64, reply: Reply) -> Result<(), Broken> {
        let Some((Attempt { call: number, node, what }, call)) = self.routers.call_of(attempt)
        else {
            return Ok(());
        };
        let (seq, visible) = match reply {
            Reply::At { seq, visible } => (seq, visible),
            Reply::Failed(why) => {
                let failure = why.failure(|disk| self.node_of(disk));
                return self.failed(attempt, failure);
            }
        };
        let (call, number, now) = (call.clone(), number, self.now);
        let forgets = self.plan.router_mistake == Some(RouterMistake::ForgetsAcks);
        let late = |what: &str, least| {
            let detail = format!("{what} at {seq}, where {least} was acked before it began");
            Err(Broken { check: Check::InTime, detail })
        };
        match (call.want, what) {
            (Want::Write { op }, _) => {
                if seq <= call.least {
                    return late(&format!("op {op} is"), call.least);
                }
                if visible {
                    let told = &mut self.routers.told[call.router];
                    *told = seq.max(*told);
                }
                if visible && !forgets {
                    self.routers.known[call.router].is_acked(seq);
                }
                self.routers.acked += 1;
            }
            (Want::Strong, _) if seq < call.least => return late("a strong read is", call.least),
            (Want::Any { told, .. }, What::Read(Round::Newer)) if seq < told => {
                let detail = format!("a router was acked {told}, and reads what was so at {seq}");
                return Err(Broken { check: Check::SessionSees, detail });
            }
            (Want::Any { .. }, What::Read(Round::Any)) => self.outcome.stale += 1,
            (Want::Strong | Want::Any { .. }, _) => {}
        }
        if let How::Reading(read) = &call.how {
            read.answered(&mut self.routers.known[call.router], now, node);
        }
        self.outcome.routed += 1;
        self.routers.ends(number);
        Ok(())
    }

    /// An attempt has no answer, or a bad one.
    pub(super) fn failed(&mut self, attempt: u64, failure: Failure) -> Result<(), Broken> {
        let Some((Attempt { call, node, what }, _)) = self.routers.call_of(attempt) else {
            return Ok(());
        };
        // What comes later of it is not waited for.
        self.routers.attempts.remove(&attempt);
        let What::Lead(ask) = what else {
            let next = self.reading(call, |read, known, now| read.failed(known, now, node));
            if next == Some(Next::GiveUp) {
                return self.fails(call);
            }
            self.go_on(call, next);
            return Ok(());
        };
        let now = self.now;
        let Some(Call { router, how: How::Leading(lead), want, .. }) =
            self.routers.calls.get_mut(&call)
        else {
            return Ok(());
        };
        let known = &mut self.routers.known[*router];
        let before = known.clone();
        let then = lead.failed(known, now, ask, failure);
        if self.plan.router_mistake == Some(RouterMistake::SticksToOne) {
            *known = before;
        }
        if let (Want::Write { op }, Some(RouterMistake::NewIds)) = (want, self.plan.router_mistake)
        {
            *op = self.history.propose_again(*op);
        }
        match then {
            Then::AskIn(ms) => {
                self.outcome.repeated += 1;
                self.router_after(ms, RouterEvent::Ask { call });
            }
            Then::GiveUp => return self.fails(call),
        }
        Ok(())
    }

    /// A call ends without an answer. A read must not, while a replica was well all the time.
    fn fails(&mut self, number: u64) -> Result<(), Broken> {
        let Some(call) = self.routers.ends(number) else { return Ok(()) };
        self.outcome.unanswered += 1;
        if call.began >= self.settled() {
            let (want, began) = (call.want, call.began);
            let detail = format!("{want:?} has no answer since {began}, when all was well");
            return Err(Broken { check: Check::Progress, detail });
        }
        let well = |&node: &usize| {
            self.nodes[node].replica.is_some() && !self.unwell_since(call.router, node, call.began)
        };
        match (call.want, (0..self.nodes.len()).find(well)) {
            (Want::Any { .. }, Some(node)) => {
                let (began, now) = (call.began, self.now);
                let detail =
                    format!("a read fails, and replica {node} was well from {began} to {now}");
                Err(Broken { check: Check::ReadsAnswered, detail })
            }
            _ => Ok(()),
        }
    }

    /// What the register says, or said, of who leads.
    fn router_watches(&mut self, router: usize) {
        if self.plan.router_mistake == Some(RouterMistake::SticksToOne) {
            return;
        }
        let Some((_, register)) = self.store.stale(&mut self.random) else { return };
        let Phase::Stable { primary } = register.phase else { return };
        let Some(node) = self.node_of(primary.disk) else { return };
        self.routers.known[router].is_seated(node, register.epoch.number);
        // Those that wait for who led before turn to that one.
        let known = &self.routers.known[router];
        let succeeded = |(&number, attempt): (&u64, &Attempt)| {
            let call = self.routers.calls.get(&attempt.call)?;
            let What::Lead(ask) = attempt.what else { return None };
            (call.router == router && Leading::is_succeeded(known, ask))
                .then_some((number, attempt.call))
        };
        let succeeded: Vec<(u64, u64)> =
            self.routers.attempts.iter().filter_map(succeeded).collect();
        for (attempt, call) in succeeded {
            self.routers.attempts.remove(&attempt);
            self.ask_primary(call);
        }
    }

    /// A replica's process ended: connections to it break.
    pub(crate) fn routers_lose(&mut self, node: usize) {
        let lost = self.routers.attempts.iter().filter(|(_, attempt)| attempt.node == node);
        let lost: Vec<u64> = lost.map(|(&attempt, _)| attempt).collect();
        for attempt in lost {
            self.reply(attempt, Reply::Failed(Refused::Away));
        }
    }
}
