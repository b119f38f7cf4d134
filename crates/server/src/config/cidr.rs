//! Ranges of addresses.

use std::net::IpAddr;
use std::str::FromStr;

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

impl Cidr {
    /// The range of addresses whose first `bits` are those of `address`; `None` when there are not
    /// so many.
    #[must_use]
    pub fn new(address: IpAddr, bits: u8) -> Option<Self> {
        let most = if address.is_ipv4() { 32 } else { 128 };
        (bits <= most).then_some(Self { address, bits })
    }

    /// The range that an address and a mask such as 255.255.0.0 name.
    #[must_use]
    pub fn with_mask(address: IpAddr, mask: IpAddr) -> Option<Self> {
        let (ones, zeros) = match mask {
            IpAddr::V4(mask) => (mask.to_bits().leading_ones(), mask.to_bits().count_ones()),
            IpAddr::V6(mask) => (mask.to_bits().leading_ones(), mask.to_bits().count_ones()),
        };
        let whole = ones == zeros && address.is_ipv4() == mask.is_ipv4();
        Self::new(address, u8::try_from(ones).ok()?).filter(|_| whole)
    }

    /// Whether an address is in the range; an IPv4 address written as an IPv6 one counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(range), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.bits);
                let top = |address: u32| address.checked_shr(shift).unwrap_or(0);
                top(range.to_bits()) == top(address.to_bits())
            }
            (IpAddr::V6(range), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.bits);
                let top = |address: u128| address.checked_shr(shift).unwrap_or(0);
                top(range.to_bits()) == top(address.to_bits())
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// `10.0.0.0/8`, or one address.
impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = || "has to be an IP address or a range such as 10.0.0.0/8".to_owned();
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| problem())?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(whole), |bits| bits.parse().map_err(|_| problem()))?;
        Self::new(address, bits).ok_or_else(problem)
    }
}

#[cfg(test)]
mod tests {
    use super::Cidr;

    #[test]
    fn an_address_is_in_its_range() {
        let holds = |range: &str, address: &str| {
            range.parse::<Cidr>().unwrap().contains(address.parse().unwrap())
        };
        assert!(holds("10.0.0.0/8", "10.255.1.2") && !holds("10.0.0.0/8", "11.0.0.0"));
        assert!(holds("10.0.0.0/8", "::ffff:10.1.1.1") && !holds("10.0.0.0/8", "::1"));
        assert!(holds("0.0.0.0/0", "1.2.3.4") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("::/0", "fe80::1") && holds("::1", "::1") && !holds("::1", "::2"));
        assert!(holds("2001:db8::/33", "2001:db8:7fff::1"));
        assert!(!holds("2001:db8::/33", "2001:db8:8000::1"));
        for wrong in ["", "10.0.0.0/33", "10.0.0", "a/8", "::/129", "10.0.0.0/-1", "10.0.0.0/"] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
        let mask = |address: &str, mask: &str| {
            Cidr::with_mask(address.parse().unwrap(), mask.parse().unwrap())
        };
        assert_eq!(mask("10.0.0.0", "255.0.0.0"), Some("10.0.0.0/8".parse().unwrap()));
        assert_eq!(mask("10.0.0.0", "255.0.255.0"), None);
        assert_eq!(mask("::1", "255.0.0.0"), None);
    }
}
