<?php
// A backend for relay's hooks (hooks.toml): it admits clients, answers their events and sends events to rooms.
//   HOOK_SECRET='change me' php -S 127.0.0.1:8080 backend.php
// The file also works behind php-fpm. It keeps its state in a file, because PHP keeps nothing between requests.
const USERS = ['token-of-li' => ['1', 'Li'], 'token-of-wang' => ['2', 'Wang']];
const PRICES = ['tea' => 3, 'coffee' => 4];

/** Checks the signature, and that the call is recent: ts in the body is signed, so an old call cannot be replayed. */
function is_from_relay(string $body): bool
{
    $right = 'sha256=' . hash_hmac('sha256', $body, getenv('HOOK_SECRET') ?: 'change me');
    if (!hash_equals($right, $_SERVER['HTTP_X_RELAY_SIGNATURE'] ?? '')) return false;
    $fresh = fn($ts) => abs(time() - (int) $ts) <= 300;
    return $fresh($_SERVER['HTTP_X_RELAY_TIMESTAMP'] ?? 0) && $fresh(json_decode($body)->ts);
}

function decide(array $call, array &$state): array
{
    if ($call['event'] === 'connect') {
        // Socket.IO 3 and later clients send auth; older ones and plain WebSocket clients use the query.
        $user = USERS[$call['auth']['token'] ?? $call['query']['token'] ?? ''] ?? null;
        if (!$user) return ['allow' => false, 'error' => 'wrong token'];
        [$userid, $username] = $user;
        $came = ['event' => 'came', 'args' => [$username], 'to' => ['room' => 'lobby']];
        // Without a userid in the answer, relay would use the one that the client claims.
        return ['userid' => $userid, 'username' => $username, 'join' => ['lobby'], 'emit' => [$came]];
    }
    if ($call['event'] === 'disconnect') {
        error_log('disconnect ' . ($call['userid'] ?? '') . ' ' . ($call['username'] ?? ''));
        return [];
    }
    $first = $call['args'][0] ?? null;
    $said = fn($room) => ['event' => 'said', 'args' => [$call['username'], $first], 'to' => ['room' => $room]];
    return match ($call['name']) {
        'ask' => ['ack' => [['of' => $first, 'price' => is_string($first) ? PRICES[$first] ?? null : null]]],
        'order' => ['ack' => [['number' => ++$state['orders'], 'of' => $first]]],
        // One room: a comma would separate several.
        'room' => ['leave' => $call['rooms'], 'join' => [str_replace(',', '', (string) $first)], 'ack' => ['ok']],
        'say' => ['emit' => array_map($said, $call['rooms'])],
        default => [],
    };
}

$body = file_get_contents('php://input');
if (!is_from_relay($body)) {
    http_response_code(401);
    exit;
}
$call = json_decode($body, true);
// Relay retries a call when it does not know whether the call arrived. A retry has the same Idempotency-Key, which the
// signed body repeats as id; it gets the first answer again, so that an order is not counted twice.
$file = fopen(getenv('HOOK_STATE') ?: sys_get_temp_dir() . '/relay-backend.json', 'c+');
flock($file, LOCK_EX);
$state = json_decode(stream_get_contents($file), true) ?: ['orders' => 0, 'answered' => []];
$answer = $state['answered'][$call['id']] ?? null;
if ($answer === null) {
    $answer = decide($call, $state);
    if (in_array($call['name'] ?? $call['event'], ['order', 'disconnect'])) {
        $state['answered'] = array_slice($state['answered'], -999, null, true) + [$call['id'] => $answer];
        rewind($file);
        ftruncate($file, 0);
        fwrite($file, json_encode($state));
    }
}
fclose($file);
header('Content-Type: application/json');
// An empty PHP array would be [] in JSON; the answer must be an object.
echo json_encode($answer ?: new stdClass());
