var request = require('request'),
md5 = require('md5'),
source = "demo",
sign_key = "try4dfs%#fs!#$2334ds(%B)",
room_ids = "room1,room2,room3,room4",
api_url = "http://127.0.0.1:4000/api/notify",
send_data = "test",
send_sign = md5(source + room_ids + send_data + sign_key);

//推送的消息
var message = {
"source":source,
"data":send_data,
"sign":send_sign,
"room_id":room_ids
};
//发送post请求
request.post({url:api_url, form:message}, function(error, response, body) {
if (!error && response.statusCode == 200) {
console.log(body);
}
});
