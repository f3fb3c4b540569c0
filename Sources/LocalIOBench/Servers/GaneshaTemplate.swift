// The text of Config/ganesha.conf.template, compiled in so that the programs need no file
// beside them. A test holds the two equal.

/// The configuration of a private NFS-Ganesha.
package enum GaneshaTemplate {
    /// Replaces `@NAME@` by the value for each name.
    package static func filled(_ values: [String: String]) -> String {
        fill(text[...], values)
    }

    private static func fill(_ text: Substring, _ values: [String: String]) -> String {
        text.split(separator: "@", omittingEmptySubsequences: false).enumerated().map { part in
            part.offset % 2 == 0 ? String(part.element) : values[String(part.element)] ?? ""
        }.joined()
    }

    /// The same with its EXPORT block once for each directory, under the number beside it.
    package static func filled(
        _ values: [String: String], exports: [(number: Int, directory: String)]
    ) -> String {
        guard let start = text.firstRange(of: "EXPORT {")?.lowerBound,
            let end = text[start...].firstRange(of: "\n}\n")?.upperBound
        else { return filled(values) }
        let blocks = exports.map { export in
            var values = values
            values["EXPORT"] = export.directory
            let number = "Export_Id = \(export.number);"
            return fill(text[start..<end].replacing("Export_Id = 1;", with: number), values)
        }
        return fill(text[..<start], values) + blocks.joined() + fill(text[end...], values)
    }

    package static let text = """
        # A private NFS-Ganesha for measuring and testing: loopback only, its own ports and state.
        # localio-bench and the tests put their values in place of the words between at signs.
        NFS_CORE_PARAM {
            Protocols = 3, 4;
            Bind_addr = 127.0.0.1;
            NFS_Port = @NFS_PORT@;
            MNT_Port = @MOUNT_PORT@;
            Enable_NLM = false;
            Enable_RQUOTA = false;
            # Without this, NFSv3 clients would mount the Path and NFSv4 clients the Pseudo.
            mount_path_pseudo = true;
        }

        NFSV4 {
            Graceless = true;
            RecoveryRoot = "@STATE@/recovery";
        }

        EXPORT {
            Export_Id = 1;
            Path = "@EXPORT@";
            Pseudo = "@EXPORT@";
            Access_Type = @ACCESS@;
            Squash = @SQUASH@;
            SecType = sys;
            Protocols = 3, 4;
            Transports = TCP;
            # Seconds for which the server believes its cached attributes; 60 is Ganesha's default.
            Attr_Expiration_Time = @ATTRIBUTE_SECONDS@;
            FSAL {
                Name = VFS;
            }
        }

        LOG {
            Default_Log_Level = EVENT;
        }

        """
}
