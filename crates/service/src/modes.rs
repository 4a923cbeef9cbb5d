//! Who may read and write the files of a program.
//!
//! What lapwing makes is for its own user: the umask is 077 from the first moment, and its directories are closed to others whatever
//! made them. A directory that others may write, or that belongs to another user, is refused: what is in it may not be one's own.
//! Links in it are nobody's own either: they are not followed.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use rustix::fs::{Mode, OFlags};

/// What others may do, in a mode.
const OTHERS: u32 = 0o007;
const GROUP_AND_OTHERS: u32 = 0o077;
const WRITE_BY_OTHERS: u32 = 0o022;

/// From here on files are made for this user only.
pub fn keep_private() {
    rustix::process::umask(Mode::from_raw_mode(GROUP_AND_OTHERS));
}

/// Makes a directory of the program's own, or takes the one that is there, and closes it to others.
///
/// # Errors
/// When it can't be made, is another user's, others may write it, or it is a link of another user's.
pub fn own_directory(path: &Path) -> io::Result<()> {
    let user = rustix::process::geteuid().as_raw();
    let link = fs::symlink_metadata(path).ok().filter(Metadata::is_symlink);
    if let Some(owner) = link.map(|link| link.uid()).filter(|owner| ![0, user].contains(owner)) {
        let text =
            format!("it is a link of user {owner}, who may lead it anywhere; look at it, then remove it");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    DirBuilder::new().recursive(true).mode(0o750).create(path)?;
    let about = fs::metadata(path)?;
    if about.uid() != user {
        let text = format!(
            "it belongs to user {}, and this program runs as {user}; give it to that user",
            about.uid()
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    let mode = about.permissions().mode();
    if mode & WRITE_BY_OTHERS != 0 {
        let text = format!(
            "others may write it (mode {:04o}), so what is in it may not be this program's own; \
             look what is in it, then `chmod go-w` it, or give another directory",
            mode & 0o7777
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }

    if mode & OTHERS != 0 {
        fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS))?;
        close(path, user)?;
    }
    Ok(())
}

/// Opens a file in a directory of the program's own. What stands in its place and is no regular file, such as a link, is not touched:
/// the program never puts any there.
///
/// # Errors
/// When there is something else than a file, and as the system gives them.
pub fn open_own(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let no_file = || {
        let text = format!(
            "{}: expected a file of this program's own, found something else; look at it, then remove it",
            path.display()
        );
        io::Error::new(io::ErrorKind::InvalidInput, text)
    };
    // A pipe must not block the open.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = options.custom_flags(flags.bits() as i32).open(path);
    let is_link = |error: &io::Error| error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    let file = opened.map_err(|error| if is_link(&error) { no_file() } else { error })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(no_file()) }
}

/// Takes from others what they may do with what is in a directory. Links are neither followed nor changed, and files of others, or
/// that have another name elsewhere, are left as they are.
fn close(directory: &Path, user: u32) -> io::Result<()> {
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            let about = fs::symlink_metadata(&path)?;
            let is_own = about.uid() == user && (about.is_dir() || (about.is_file() && about.nlink() == 1));
            if !is_own {
                continue;
            }
            let mode = about.permissions().mode();
            if mode & OTHERS != 0 {
                fs::set_permissions(&path, Permissions::from_mode(mode & !OTHERS))?;
            }
            if about.is_dir() {
                directories.push(path);
            }
        }
    }
    Ok(())
}

/// What to say of a file that holds a secret and that others may read; `None` when all is well, or it is not there.
pub fn readable_by_others(path: &Path) -> Option<String> {
    let mode = mode(&fs::metadata(path).ok()?);
    (mode & GROUP_AND_OTHERS != 0).then(|| {
        let file = path.display();
        format!("{file} holds a secret, and others than its owner may read or write it (mode {mode:04o}); `chmod 600 {file}`")
    })
}

/// What to say of a config that others may write; `None` when all is well.
pub fn writable_by_others(path: &Path) -> Option<String> {
    let about = fs::metadata(path).ok()?;
    let mode = mode(&about);
    let owner = about.uid();
    let file = path.display();
    if mode & WRITE_BY_OTHERS != 0 {
        return Some(format!(
            "{file}: others than its owner may write it (mode {mode:04o}), and so decide what this program reads and sends; \
             `chmod go-w {file}`"
        ));
    }
    let user = rustix::process::geteuid().as_raw();
    (owner != 0 && owner != user)
        .then(|| format!("{file} belongs to user {owner}, who may change what this program reads and sends"))
}

fn mode(about: &Metadata) -> u32 {
    about.permissions().mode() & 0o7777
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn mode_of(path: &Path) -> u32 {
        mode(&fs::symlink_metadata(path).unwrap())
    }

    #[test]
    fn a_directory_that_was_there_is_closed_to_others_with_all_that_is_in_it() {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("own");
        fs::create_dir_all(own.join("lake/main")).unwrap();
        fs::write(own.join("lake/main/a.parquet"), "rows").unwrap();
        fs::write(root.path().join("else"), "not ours to change").unwrap();
        symlink(root.path().join("else"), own.join("link")).unwrap();
        fs::hard_link(root.path().join("else"), own.join("hard")).unwrap();
        for path in [&own, &own.join("lake"), &own.join("lake/main")] {
            set(path, 0o755);
        }
        set(&own.join("lake/main/a.parquet"), 0o644);
        set(&root.path().join("else"), 0o644);

        own_directory(&own).unwrap();
        assert_eq!(mode_of(&own), 0o750);
        assert_eq!(mode_of(&own.join("lake/main/a.parquet")), 0o640);
        assert_eq!(mode_of(&root.path().join("else")), 0o644, "what a link leads to is left alone");
    }

    #[test]
    fn a_directory_that_others_may_write_or_that_is_anothers_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let shared = root.path().join("shared");
        fs::create_dir(&shared).unwrap();
        for open in [0o777, 0o1777, 0o770] {
            set(&shared, open);
            let told = own_directory(&shared).unwrap_err().to_string();
            assert!(told.contains("others may write it") && told.contains("chmod go-w"), "{told}");
        }
        set(&shared, 0o700);
        own_directory(&shared).unwrap();
        // Only root can give a directory away.
        if chown(&shared, Some(65_534), None).is_ok() {
            let told = own_directory(&shared).unwrap_err().to_string();
            assert!(told.contains("belongs to user 65534"), "{told}");
        }
    }

    #[test]
    fn a_link_in_the_place_of_a_file_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let (own, secret) = (root.path().join("own"), root.path().join("secret"));
        own_directory(&own).unwrap();
        fs::write(&secret, "keep me").unwrap();
        symlink(&secret, own.join("a")).unwrap();
        symlink(root.path().join("not-there"), own.join("b")).unwrap();
        fs::create_dir(own.join("c")).unwrap();
        for name in ["a", "b"] {
            let path = own.join(name);
            let told = open_own(&path, OpenOptions::new().write(true).create(true).truncate(true));
            assert!(told.unwrap_err().to_string().contains("expected a file"), "{name}");
        }
        assert!(open_own(&own.join("c"), OpenOptions::new().read(true)).is_err());
        assert_eq!(fs::read_to_string(&secret).unwrap(), "keep me");
        assert!(!root.path().join("not-there").exists());
        open_own(&own.join("d"), OpenOptions::new().write(true).create(true)).unwrap();
    }

    #[test]
    fn a_directory_that_is_a_link_is_taken_from_nobody_but_its_user_and_root() {
        let root = tempfile::tempdir().unwrap();
        let (own, link) = (root.path().join("own"), root.path().join("link"));
        own_directory(&own).unwrap();
        symlink(&own, &link).unwrap();
        own_directory(&link).unwrap();
        // Only root can give a link away.
        if std::os::unix::fs::lchown(&link, Some(65_534), None).is_ok() {
            let told = own_directory(&link).unwrap_err().to_string();
            assert!(told.contains("link of user 65534"), "{told}");
        }
    }

    #[test]
    fn a_key_that_others_may_read_and_a_config_that_others_may_write_are_told() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("f");
        assert_eq!(readable_by_others(&file), None);
        fs::write(&file, "secret").unwrap();
        set(&file, 0o600);
        assert_eq!((readable_by_others(&file), writable_by_others(&file)), (None, None));
        set(&file, 0o640);
        assert!(readable_by_others(&file).unwrap().contains("mode 0640"));
        assert_eq!(writable_by_others(&file), None);
        set(&file, 0o666);
        assert!(writable_by_others(&file).unwrap().contains("chmod go-w"));
    }
}
