//! Consoles of the simulated cloud: the screen says which machine it is and how it is, and shows what is typed.

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Duration, sleep};
use uuid::Uuid;

use crate::base::clock::Clock;
use crate::base::db::PgPool;
use crate::provider::compute::consoles::{BUFFER, Consoles, Screen, Way};
use crate::provider::compute::simulator::model::Row;
use crate::provider::compute::simulator::{Simulator, screen, store};
use crate::provider::compute::{Power, ProviderError};

/// How often a screen that somebody looks at asks how its machine is.
const LOOK: Duration = Duration::from_secs(1);

impl Simulator {
    /// A machine that is on, whatever is being done to it.
    async fn lit(&self, machine: &str) -> Result<Row, ProviderError> {
        let id = super::id_of(machine)?;
        let mut connection = self.db.acquire().await?;
        let row = store::get(&mut connection, id)
            .await?
            .ok_or(ProviderError::NotFound)?;
        self.admit(&mut connection, row.account).await?;
        let seen = row.seen(self.clock.now()).ok_or(ProviderError::NotFound)?;
        if seen.power == Power::Stopped {
            return Err(ProviderError::Unavailable("the machine is off".to_owned()));
        }
        Ok(row)
    }
}

#[async_trait]
impl Consoles for Simulator {
    async fn way(&self, machine: &str) -> Result<Way, ProviderError> {
        self.lit(machine).await.map(|_| Way::Through)
    }

    async fn connect(&self, machine: &str) -> Result<Screen, ProviderError> {
        let row = self.lit(machine).await?;
        let shown = state_of(Some(&row), &self.clock);
        let (tell, told) = watch::channel(shown.unwrap_or_default());
        let (bytes, near) = tokio::io::duplex(BUFFER);
        let (db, clock) = (self.db.clone(), self.clock.clone());
        tokio::spawn(async move {
            let name = row.reference.clone();
            // A viewer that leaves is how every screen ends.
            tokio::select! {
                _ = screen::show(near, &name, told) => {}
                () = follow(&db, &clock, row.id, &tell) => {}
            }
        });
        Ok(Screen {
            bytes,
            password: None,
        })
    }
}

/// Says how a machine is, until it is off or gone.
async fn follow(db: &PgPool, clock: &Clock, id: Uuid, tell: &watch::Sender<&'static str>) {
    loop {
        sleep(LOOK).await;
        let Ok(mut connection) = db.acquire().await else {
            continue;
        };
        let Ok(row) = store::get(&mut connection, id).await else {
            continue;
        };
        let Some(now) = state_of(row.as_ref(), clock) else {
            return;
        };
        tell.send_if_modified(|shown| std::mem::replace(shown, now) != now);
    }
}

/// What is said of a machine; `None` if its screen is dark.
fn state_of(row: Option<&Row>, clock: &Clock) -> Option<&'static str> {
    match row?.seen(clock.now())?.power {
        Power::Booting => Some("BOOTING"),
        Power::Running => Some("RUNNING"),
        Power::Stopping => Some("STOPPING"),
        Power::Stopped => None,
    }
}
