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
API_CALLS = 16  # requests to the API at the same time
QUOTA_HOUR = 3600.0  # the API counts requests by the hour
LOW_QUOTA = 0.2  # the page says how many requests are left below this part of the hour's quota
VISITOR_WINDOW, MAX_NEW_SEARCHES = 60.0, 30  # new searches of one session within the window

# HTTP
CONNECT_TIMEOUT = 3.0
READ_TIMEOUT = 4.0  # between two reads from a socket
RETRY_PAUSE = 0.3  # before the only retry
DOWNLOADS = 32  # photos downloaded at the same time, over all searches
PHOTO_SECONDS = 8.0  # the download of one photo, retry included
MAX_PHOTO_BYTES = 20 * 2**20
WEIGHTS_TIMEOUT = 20.0  # between two reads while weights are downloaded

# Pictures
MAX_PIXELS = 50_000_000  # 200 MB when decoded
MAX_SIDE = 1_000_000  # pixels of an original as the API describes it; the page divides one side by the other
DECODERS = 2  # pictures decoded at the same time; each needs up to MAX_PIXELS x 8 bytes
# The short side of a photo fetched for CLIP, in units of the model's resolution. Scores differ from those of the
# 1080 pixels wide photo by up to 5.4 % of the largest score at 1.0, by 2.8 % at 1.15, and by 2.5 % at 2.0, which is
# JPEG noise and costs 1.7 times the bytes (16 photos, ViT-B/32 with random weights).
FETCHED_SIDE = 1.15
MIN_FETCHED_SIDE = 256  # pixels; in smaller JPEGs the blocks are large compared to what a small model sees

# Uploads
MAX_UPLOADS = 100  # pictures of one visitor, up to 300 kB each as they are kept
MAX_ZIP_ENTRIES = 10_000  # listing the million entries that 50 MB can hold takes seconds and 500 MB
UPLOAD_SIDE = 1080  # pixels of the copy that is kept

# Encoding
GOOD_BATCH = 5  # images; on a CPU, larger batches are hardly more efficient
MAX_BATCH = 16  # images; after each batch other searches get their turn
PATIENCE = 0.05  # longest wait for more images before a batch starts
PAUSE = 0.005  # a batch that is large enough starts after this much quiet
HEARTBEAT = 0.1  # a running search reports its progress, and can be cancelled, this often

# Results that are kept
FEATURES_CACHED = 20_000  # photos, 2 kB each
TEXTS_CACHED = 2_000  # queries, 2 kB each
EXPLANATIONS_CACHED = 1_000  # 200 bytes each, and 2 kB for the key

# The process
TORCH_IMPORT_DELAY = 0.25  # the browser fetches the page's scripts first; importing torch would hold them up
TRIM_THRESHOLD = 32 * 2**20  # bytes of free memory that malloc keeps, about one pass of MAX_BATCH images
MMAP_THRESHOLD = 16 * 2**20  # bytes; larger blocks, such as Pillow's, go back to the system at once
MALLOC_ARENAS = 4  # for all threads; each arena keeps some memory, and the default is eight per core
