package nightloom;

import io.delta.storage.HadoopFileSystemLogStore;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.util.Arrays;
import java.util.Iterator;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FSDataOutputStreamBuilder;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.s3a.AWSServiceIOException;
import org.apache.hadoop.fs.s3a.RemoteFileChangedException;

/**
 * Delta's commits on S3: the PUT of a commit has the condition If-None-Match, so that of all writers of one version one
 * wins, be it another driver or delta-rs, which sends the same condition.
 *
 * A writer whose answer got lost sends its PUT again and finds a file: its own. So a lost race is one only where the
 * file differs from what was sent; every commit has an id of its own in it.
 */
public class S3LogStore extends HadoopFileSystemLogStore {
    private static final String CONDITION = "fs.option.create.conditional.overwrite";
    private static final int CONFLICT = 409;
    private static final int ATTEMPTS = 5;
    private static final Set<String> CHECKED = ConcurrentHashMap.newKeySet();

    public S3LogStore(Configuration configuration) {
        super(configuration);
    }

    @Override
    public void write(Path path, Iterator<String> actions, Boolean overwrite, Configuration configuration)
            throws IOException {
        FileSystem store = path.getFileSystem(configuration);
        ByteArrayOutputStream lines = new ByteArrayOutputStream();
        while (actions.hasNext()) { // all of them before the PUT begins: one that fails must not leave half a commit
            lines.write((actions.next() + "\n").getBytes(StandardCharsets.UTF_8));
        }
        byte[] content = lines.toByteArray();
        if (overwrite) {
            send(store.create(path, true), content);
            return;
        }
        checkOnce(store, path.getParent());
        if (!create(store, path, content) && !Arrays.equals(content, read(store, path))) {
            throw new FileAlreadyExistsException(path.toString());
        }
    }

    @Override
    public Boolean isPartialWriteVisible(Path path, Configuration configuration) {
        return false;
    }

    /** Create a file -> false where there is one. */
    private static boolean create(FileSystem store, Path path, byte[] content) throws IOException {
        for (int attempt = 1; ; attempt++) {
            try {
                FSDataOutputStreamBuilder<?, ?> builder = store.createFile(path);
                builder.must(CONDITION, true);
                send(builder.build(), content);
                return true;
            } catch (RemoteFileChangedException exists) {
                return false;
            } catch (AWSServiceIOException error) {
                if (error.statusCode() != CONFLICT || attempt == ATTEMPTS) { // S3 cannot tell yet who wins: ask again
                    throw error;
                }
            }
        }
    }

    private static void send(FSDataOutputStream stream, byte[] content) throws IOException {
        stream.write(content);
        stream.close(); // this is the PUT; after a failed write() nothing is sent
    }

    private static byte[] read(FileSystem store, Path path) throws IOException {
        try (InputStream stream = store.open(path)) {
            return stream.readAllBytes();
        }
    }

    /** Fails where a store accepts the condition and ignores it; asked once per process and bucket. */
    private static void checkOnce(FileSystem store, Path folder) throws IOException {
        String bucket = store.getUri().toString();
        if (CHECKED.contains(bucket)) {
            return;
        }
        Path probe = new Path(folder, ".conditional-put-" + UUID.randomUUID());
        try {
            if (!create(store, probe, new byte[] {1}) || create(store, probe, new byte[] {2})) {
                throw new IOException(bucket + " ignores If-None-Match: two writers would overwrite each other's commits."
                        + " Use a store that honours it, as AWS S3 and MinIO do.");
            }
        } finally {
            store.delete(probe, false);
        }
        CHECKED.add(bucket);
    }
}
