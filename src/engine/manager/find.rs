//! Finding the servers of an address, with what the settings and the server templates know. It refuses an address
//! whose domain is not written in ASCII.

use super::{Manager, Refusal};
use crate::account::Protocol;
use crate::discover::{Looked, Search};

impl Manager {
    /// The domain of an address.
    ///
    /// # Errors
    /// It is no address.
    pub fn to_find(&self, address: &str) -> Result<String, Refusal> {
        let refuse = |what: &str, mend: &str| {
            Err(Refusal::Refused(address.to_owned(), what.to_owned(), mend.to_owned()))
        };
        let Some((local, domain)) = address.rsplit_once('@').filter(|(local, _)| !local.is_empty()) else {
            return refuse("is no address", "write one such as alice@example.com");
        };
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        let plain = domain.len() <= 200 && domain.chars().all(good) && !domain.split('.').any(str::is_empty);
        if !plain || local.chars().any(char::is_control) {
            return refuse("is no address with a domain in ASCII", "write the domain as xn--...");
        }
        Ok(domain.to_lowercase())
    }

    /// Looks for the servers of a domain; `told` gets each that was looked at.
    pub async fn find(&self, domain: &str, wanted: &[Protocol], told: impl AsyncFnMut(Looked)) {
        let means = self.means();
        let search = Search {
            connector: &means.connector,
            name_servers: &means.settings.discovery.name_servers,
            provider: means.providers.get(domain),
            domain,
        };
        search.run(wanted, told).await;
    }
}
