var source = "demo";
var sign_key = "try4dfs%#fs!#$2334ds(%B)";
var room_ids = "room1,room2,room3,room4";
var api_url = "http://127.0.0.1:4000/api/notify";
var send_data = "test";
var send_sign = md5(source + room_ids + send_data + sign_key);
//推送的消息
var message = {
"source":source,
"data":send_data,
"sign":send_sign,
"room_id":room_ids
};
$.post(api_url,message,function(res){
console.log(res);
},"json");
