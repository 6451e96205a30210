//! Why an operation failed, in the words of Java's `KeeperException`.

use std::fmt;

use crate::wire::ErrorCode;

/// Codes that no server sends: the client makes them up itself.
pub const CONNECTION_LOSS: i32 = -4;
pub const OPERATION_TIMEOUT: i32 = -7;

/// What an operation can end with other than success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// An error code of the protocol, or [`CONNECTION_LOSS`]; the path is the request's.
    Code { code: i32, path: Option<String> },
    /// The client refused to send the request: Java's `IllegalArgumentException`.
    Argument(String),
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn new(code: i32, path: &str) -> Self {
        Self::Code { code, path: Some(path.to_owned()) }
    }

    /// Whether this is the given code.
    pub fn is(&self, expected: ErrorCode) -> bool {
        matches!(self, Self::Code { code, .. } if *code == expected.code())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code { code, path: Some(path) } if !path.is_empty() => {
                write!(f, "KeeperErrorCode = {} for {path}", text(*code))
            }
            Self::Code { code, .. } => write!(f, "KeeperErrorCode = {}", text(*code)),
            Self::Argument(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}

/// The name that Java's messages give to a code.
pub fn text(code: i32) -> String {
    let known = match code {
        0 => "ok",
        -1 => "SystemError",
        -2 => "RuntimeInconsistency",
        -3 => "DataInconsistency",
        CONNECTION_LOSS => "ConnectionLoss",
        -5 => "MarshallingError",
        -6 => "Unimplemented",
        OPERATION_TIMEOUT => "OperationTimeout",
        -8 => "BadArguments",
        -13 => "NewConfigNoQuorum",
        -14 => "ReconfigInProgress",
        -100 => "APIError",
        -101 => "NoNode",
        -102 => "NoAuth",
        -103 => "BadVersion",
        -108 => "NoChildrenForEphemerals",
        -110 => "NodeExists",
        -111 => "Directory not empty",
        -112 => "Session expired",
        -113 => "Invalid callback",
        -114 => "InvalidACL",
        -115 => "AuthFailed",
        -118 => "Session moved",
        -119 => "Not a read-only call",
        -120 => "Ephemeral node on local session",
        -121 => "No such watcher",
        -123 => "Reconfig is disabled",
        -124 => "Session closed because client failed to authenticate",
        -125 => "Quota has exceeded",
        -127 => "Op throttled due to high load",
        -12 => "Unknown error UNKNOWNSESSION",
        other => return format!("Unknown error {other}"),
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_javas() {
        let no_node = Error::new(ErrorCode::NoNode.code(), "/a");
        assert_eq!(no_node.to_string(), "KeeperErrorCode = NoNode for /a");
        assert!(no_node.is(ErrorCode::NoNode) && !no_node.is(ErrorCode::NoAuth));
        let lost = Error::Code { code: CONNECTION_LOSS, path: None };
        assert_eq!(lost.to_string(), "KeeperErrorCode = ConnectionLoss");
        assert_eq!(Error::new(-123, "").to_string(), "KeeperErrorCode = Reconfig is disabled");
    }
}
