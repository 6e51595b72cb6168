"""Every limit in one place. Times are in seconds unless the comment names another unit.

Read them as `limits.NAME`: a test that changes one then reaches all of its users.
"""

# Queries
MAX_QUERY_CHARS = 200  # CLIP reads 77 tokens, about 300 characters of English
MAX_TOKENIZED_CHARS = 1_000  # far more than 77 tokens; the tokenizer needs seconds for a word of 10,000 characters
MAX_TOTAL = 300  # photos in one search, ten requests to the API

# Unsplash's API
UNSPLASH_PAGE_SIZE = 30  # the API's own maximum for `per_page`
REPLY_LIFETIME = 3600.0  # Unsplash allows a day (max-age=86400); an hour keeps results fresh
REPLIES_CACHED = 500  # pages of replies, about 30 kB each
MAX_REPLY_BYTES = 8 * 2**20
API_SECONDS = 10.0  # one call of the API, retry included
API_CALLS = 64  # requests to the API at the same time: some may hang until their deadline
SHARED_PAUSE = 30.0  # without the database that servers share replies through, after it was away
QUOTA_HOUR = 3600.0  # the API counts requests by the hour
LOW_QUOTA = 0.2  # the page says how many requests are left below this part of the hour's quota
PROBE_PAUSE = 300.0  # between single requests that find out whether a used-up quota is back
VISITOR_WINDOW, MAX_VISITOR_REQUESTS = 60.0, 30  # requests for new searches of one session within the window
MIN_REQUESTS_A_MINUTE = 30  # of the whole process, which someone at a keyboard does not reach
MINUTES_OF_QUOTA = 20  # what remains of the quota must last for so long, beyond the minimum
REGULARS_PART = 0.5  # of these requests, as many more for sessions that are older than the window

# HTTP
CONNECT_TIMEOUT = 3.0
READ_TIMEOUT = 4.0  # between two reads from a socket
CANCEL_CHECK = 0.5  # a call that waits notices that it is cancelled, or that the process ends, this often
RETRY_PAUSE = 0.3  # before the only retry
DOWNLOADS = 160  # photos downloaded at the same time, over all searches; some may hang until their deadline
READS_PER_SEARCH = 16  # photos of one search that are read at the same time: ten searches may hang
PHOTO_SECONDS = 8.0  # the download of one photo, retry included
MAX_PHOTO_BYTES = 20 * 2**20
WEIGHTS_TIMEOUT = 20.0  # between two reads while weights are downloaded

# Pictures
MAX_STORED_PIXELS = 250_000_000  # of a file; the largest phones have 200 megapixels
MAX_PIXELS = 64_000_000  # of what is decoded: a JPEG can be decoded at an eighth of its size
LARGE_PIXELS = 16_000_000  # pictures that decode to more are decoded one at a time
DECODERS = 2  # other pictures decoded at the same time
MAX_SCANS = 100  # of a progressive JPEG; a photo has a dozen, and each takes as long as the whole picture
DECODE_SECONDS = 10  # of computing, for a picture from outside
DECODE_WALL_SECONDS = 30.0  # the same by the clock, on a busy machine
WORKER_BYTES = 2 * 2**30  # of address space, for the process that decodes pictures from outside
WORKER_NICENESS = 10  # of that process: searches that need the processor go first
WORKER_IDLE = 60.0  # after which that process ends
MAX_PNG_CHUNKS = 20_000  # a camera's picture of 64 megapixels in chunks of 8 kB has fewer
MAX_PROFILE_BYTES = 8 * 2**20  # of a colour profile in a PNG file, unpacked
MAX_MISSING = 0.1  # part of a JPEG's rows; a picture that lacks fewer is shown
MAX_SIDE = 1_000_000  # pixels of an original as the API describes it; the page divides one side by the other
WIDE = 2.0  # long side to short side; of pictures beyond that, several squares are scored
MAX_SQUARES = 16  # of one picture
# The short side of a photo fetched for CLIP, in units of the model's resolution. Scores differ from those of the
# 1080 pixels wide photo by up to 5.4 % of the largest score at 1.0, by 2.8 % at 1.15, and by 2.5 % at 2.0, which is
# JPEG noise and costs 1.7 times the bytes (16 photos, ViT-B/32 with random weights).
FETCHED_SIDE = 1.15
# The short side that a library's JPEG is decoded to at least, in the same units. A photo of 12 megapixels is then
# decoded at an eighth of its size instead of a quarter, which indexes a quarter more of them in a second. Features turn
# by less than 0.001 (cosine of at least 0.9993 to those of the full picture, 16 photos, ViT-B/32 with random weights).
INDEXED_SIDE = 1.5
MIN_FETCHED_SIDE = 256  # pixels; in smaller JPEGs the blocks are large compared to what a small model sees

# Uploads
SESSION_UPLOAD_BYTES = 250 * 2**20  # of one session's files that wait to be read
PROCESS_UPLOAD_BYTES = 500 * 2**20  # of all sessions' files that wait to be read
MAX_KEPT_BYTES = 64 * 2**20  # of one session's copies
MAX_ALL_KEPT_BYTES = 512 * 2**20  # of all sessions' copies
SESSION_GRACE = 90.0  # after which the session of a closed tab ends; Streamlit would let it come back for 120
FREE_PAUSE = 10.0  # between two looks for closed tabs
MAX_UPLOADS = 100  # pictures of one visitor, up to 300 kB each as they are kept
MAX_TOO_MUCH = 3  # pictures that take too much time or memory, after which the visitor's other files are not read
MAX_NAME_CHARS = 255  # of a file; a zip can hold longer ones
MAX_ZIP_ENTRIES = 10_000  # listing the million entries that 50 MB can hold takes seconds and 500 MB
MAX_UNZIPPED_BYTES = 500 * 2**20  # from one zip; its own size can be a thousandth of that
UPLOAD_SIDE = 1080  # pixels of the long side of the copy that is kept
MAX_JPEG_SIDE = 65_500  # pixels that libjpeg can write
MIN_SHORT_SIDE = 448  # pixels of its short side, twice the resolution of ViT-B/32
MAX_UPLOAD_BYTES = 100 * 2**20  # of one file

# Encoding
GOOD_BATCH = 5  # images; on a CPU, larger batches are hardly more efficient
# Images, or those of one photo; after each batch other searches get their turn. From 13 on, each image takes a fifth
# longer in bf16 (two cores with AMX).
MAX_BATCH = 12
PATIENCE = 0.05  # longest wait for more images before a batch starts
PAUSE = 0.005  # a batch that is large enough starts after this much quiet
HEARTBEAT = 0.1  # a running search reports its progress, and can be cancelled, this often

# Libraries
INDEX_AHEAD = 48  # photos that are read while others are encoded
REFRESH_PAUSE = 2.0  # until photos that have just been indexed are found
RESCAN_PAUSE = 300.0  # between two looks over a library while the app runs
POLITE_DOWNLOADS = 16  # of a dataset's photos at the same time
UNREACHABLE = 50  # downloads of a dataset that fail one after the other; then the run ends
MAX_SHOWN = 300  # photos of a library that one search shows
KEYWORD_PLACES = 1_000  # places in the order by keyword that are known
DATABASE_CONNECTIONS = 8  # of one process to a PostgreSQL server
DATABASE_IDLE = 60.0  # after which a connection is closed
DATABASE_PATIENCE = 3.0  # for a connection, while the server restarts for instance
EXACT_BELOW = 2_000_000  # photos in PostgreSQL; above, an index of vectors takes part in the search
FILTERED_FIRST_BELOW = 50_000  # photos that pass a filter; above, it is applied to what the search finds
HNSW_SEARCH = 1_000  # vectors that a search in that index keeps in view, at most 1,000
HNSW_REACH = 32_000  # candidates that it proposes; with fewer, a search is faster and misses more of the best
HNSW_LINKS, HNSW_BUILDING = 24, 100  # of each vector, and kept in view while it is built; pgvector's are 16 and 64
HNSW_VISITS = 1_000_000  # vectors that a search with filters looks at before it goes on without the index
HNSW_MEGABYTES = 5_000  # of the server's memory, at most, while it builds that index
SEARCH_MEGABYTES = 64  # of the server's memory, at most, for the best of one search; eight times as much in that index
CLAIMED_PHOTOS = 256  # that one of several indexers takes at once
CLAIM_PAUSE = 0.5  # between two looks for photos that other indexers have given back
THUMBNAIL_SIDE = 720  # pixels of the long side
THUMBNAIL_CACHE = 64 * 2**20  # bytes

# Results that are kept
FEATURES_CACHED = 20_000  # photos, 2 kB each
TEXTS_CACHED = 2_000  # queries, 2 kB each
EXPLANATIONS_CACHED = 1_000  # 200 bytes each, and 2 kB for the key

# The process
TORCH_IMPORT_DELAY = 0.25  # the browser fetches the page's scripts first; importing torch would hold them up
TRIM_THRESHOLD = 32 * 2**20  # bytes of free memory that malloc keeps, about one pass of MAX_BATCH images
MMAP_THRESHOLD = 16 * 2**20  # bytes; larger blocks, such as Pillow's, go back to the system at once
FREED_BLOCK = 256 * 2**10  # bytes; malloc looks for memory to return when it frees a block of more than 64 kB
MALLOC_ARENAS = 4  # for all threads; each arena keeps some memory, and the default is eight per core
